"""Result folders: writing them atomically, reading them back. Stands on config and files alone."""
