"""What training minimises: rollouts, streaming long tuning, DMD, flow matching, ODE initialisation."""
