"""Entry points: menu commands, sample images and the demo."""
