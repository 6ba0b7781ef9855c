"""Workers and beat as processes: started, stopped, killed, suspended."""
