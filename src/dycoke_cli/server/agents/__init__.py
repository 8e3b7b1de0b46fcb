"""`dycoke mcp`: tools of the Model Context Protocol, by which agents ask about videos."""
