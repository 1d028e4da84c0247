"""Real Graph (Kamath et al., 2014): how likely each user is to interact with each other one."""
