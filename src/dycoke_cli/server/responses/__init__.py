"""`/v1/responses`: OpenAI's newer protocol, whose replies are held for a while."""
