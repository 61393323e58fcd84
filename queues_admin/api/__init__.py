"""The REST face: parse, call an operation or a selector, wrap the answer. No rule lives here."""
