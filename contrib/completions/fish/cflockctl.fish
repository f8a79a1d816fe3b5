# fish completion for cflockctl: beside that for cflock, and made by it.
source (status dirname)/cflock.fish
