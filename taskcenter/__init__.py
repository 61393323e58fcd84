"""Where and how Task Center runs: settings, environment, logs, the embedded servers."""
