"""The auto-encoder of sessions, and the rule that foretells skips by it."""
