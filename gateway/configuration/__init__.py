"""What the gateway and its agents are told: files, environment, checks, and the doctor."""
