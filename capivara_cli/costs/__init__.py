"""What work costs: seconds, kilowatt-hours, grams of CO2e and operations, of this process and the commands it ran."""
