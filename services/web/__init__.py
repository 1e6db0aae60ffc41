"""The pages: what a team opens in a browser, served by the process of the API.

Server-rendered; scripts and styles lie in the package, nothing is fetched from anywhere else, and
no page needs a build step. Stored text is only ever text in them: templates escape it, characters
that a browser obeys are shown as their codes, and no page allows scripts or styles of its own.
"""
