"""Review: from candidates to decisions that can be trusted in a study."""
