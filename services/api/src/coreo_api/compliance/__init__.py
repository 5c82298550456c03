"""How runs stand against frameworks, and what people answer where no rule can."""
