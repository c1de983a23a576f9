"""What people look at: progress, tables, learning curves, pictures of views."""
