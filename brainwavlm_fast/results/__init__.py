"""Result folders: writing them whole, reading them back. Stands on config and files alone."""
