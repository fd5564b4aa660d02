"""Dashboard and alerts, asked of a real Prometheus that scrapes a real bridge."""
