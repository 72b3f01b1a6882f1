"""How checkpoints that ship with UniReason are made; not part of the installed package."""
