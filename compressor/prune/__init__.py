"""`compress prune`: importance → choice → cut → recovery."""
