"""See what a trained model does."""
