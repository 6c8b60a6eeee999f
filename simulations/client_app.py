"""The client app of a bundle; everything it does is in the ``fedtl`` installed at the site."""

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedtl.flower_app import reply

app = ClientApp()


@app.query("handshake")
def handshake(message: Message, context: Context) -> Message:
    """Identify this client."""
    return reply(message, context)


@app.query("moments")
def moments(message: Message, context: Context) -> Message:
    """Sum this client's features and their squares."""
    return reply(message, context)


@app.query("init")
def init(message: Message, context: Context) -> Message:
    """Compute the statistics of the closed form that training starts from."""
    return reply(message, context)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Score the incoming head, then train from it."""
    return reply(message, context)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Score the final head and the local-only head."""
    return reply(message, context)
