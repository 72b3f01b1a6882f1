"""From a question to grounded reasoning: the protocol and its two implementations, ``template`` and ``llm``."""
