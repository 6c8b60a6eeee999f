"""What runs at a site that brings data of its own, and what such a site lets nobody decide."""
