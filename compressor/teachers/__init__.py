"""any foreign checkpoint → Teacher, and back (convert)."""
