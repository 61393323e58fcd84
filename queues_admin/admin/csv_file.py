"""CSV written line by line into a streamed answer."""


class Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text
