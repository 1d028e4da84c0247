"""What each command of the command line does; like `cluster.cli`, it may import every room."""
