package org.speechpress.core

/** An error that a user can cause; its message says what was wrong, where, and what to do. */
class SpeechpressException(message: String, cause: Throwable? = null) : Exception(message, cause)
