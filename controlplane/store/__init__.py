"""Where state lives: one small port (`base`), adapters beside it. No adapter knows another, nor what it stores."""
