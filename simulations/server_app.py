"""The server app of a bundle; everything it does is in the ``fedtl`` installed beside it."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedtl.flower_app import serve

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation."""
    serve(grid, context)
