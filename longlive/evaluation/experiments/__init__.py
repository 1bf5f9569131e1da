"""What is compared: one module for each table, figure or question of the paper."""
