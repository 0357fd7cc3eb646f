"""Makes artifacts: recipes, teachers, distillation, pruning, export and evaluation."""
