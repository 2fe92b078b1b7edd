"""Files that are whole or not there: how anything is written, arrays by name, models, checkpoints."""
