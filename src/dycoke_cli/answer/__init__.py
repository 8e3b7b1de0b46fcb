"""An answer as dataclasses, which are the JSON object, and the schemas made from them."""
