"""An OpenAI-compatible server of one model on one machine: `dycoke serve`."""
