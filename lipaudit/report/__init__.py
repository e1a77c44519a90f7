"""Plain data: what an audit found. No torch, no printing, no judgement."""
