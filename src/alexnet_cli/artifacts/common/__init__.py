"""What every artifact shares: a manifest, one owner, and a name under which it is whole or not there."""
