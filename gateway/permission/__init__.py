"""Who may use which tool: owners, proofs, confirmations, caps, and the audit log."""
