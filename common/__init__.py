"""What two or more papers need. Never imports a paper."""
