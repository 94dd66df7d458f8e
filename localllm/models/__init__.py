"""The model manager: what a name means, cards, the store on disk, and how files get there."""
