"""Command line: each verb is a thin shell over one library function; verbs that share an idea share a module.

``add_VERB(parser)`` declares the options of a verb, and ``execute_VERB(arguments)`` calls the library, prints, and
returns the exit code. The docstring of the second is the verb's help.
"""
