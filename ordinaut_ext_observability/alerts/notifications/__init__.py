"""From alerts to the people who have to know: groups, silences, what was sent, what is to be sent."""
