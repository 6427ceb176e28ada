"""What is seen of a simulated call, and what must hold in every one."""
