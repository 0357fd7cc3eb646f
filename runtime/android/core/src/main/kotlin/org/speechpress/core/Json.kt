package org.speechpress.core

import java.util.Locale

/** A JSON value as it stood in the text. */
sealed class Json {
    data class Obj(val members: Map<String, Json>) : Json()

    data class Arr(val items: List<Json>) : Json()

    data class Str(val value: String) : Json()

    /** A number keeps its digits: the digest of a bundle is over the text, not over the value. */
    data class Num(val digits: String) : Json()

    data class Bool(val value: Boolean) : Json()

    object Null : Json()

    /** The text with keys sorted and no spaces, as Python's `json.dumps` writes it for the digest. */
    fun canonical(): String = StringBuilder().also { write(it) }.toString()

    private fun write(out: StringBuilder) {
        when (this) {
            is Obj -> writeMembers(out)
            is Arr -> writeItems(out)
            is Str -> quote(value, out)
            is Num -> out.append(digits)
            is Bool -> out.append(value)
            is Null -> out.append("null")
        }
    }

    private fun Obj.writeMembers(out: StringBuilder) {
        out.append('{')
        members.keys.sorted().forEachIndexed { index, key ->
            if (index > 0) out.append(',')
            quote(key, out)
            out.append(':')
            members.getValue(key).write(out)
        }
        out.append('}')
    }

    private fun Arr.writeItems(out: StringBuilder) {
        out.append('[')
        items.forEachIndexed { index, item ->
            if (index > 0) out.append(',')
            item.write(out)
        }
        out.append(']')
    }

    companion object {
        /** Throws [SpeechpressException], which names [source] and the place, for text that is not strict JSON. */
        fun parse(text: String, source: String): Json = JsonParser(text, source).document()

        private fun quote(text: String, out: StringBuilder) {
            out.append('"')
            for (char in text) {
                when {
                    char == '"' || char == '\\' -> out.append('\\').append(char)
                    char in SHORT_ESCAPES -> out.append('\\').append(SHORT_ESCAPES.getValue(char))
                    char < ' ' -> out.append(String.format(Locale.ROOT, "\\u%04x", char - '\u0000'))
                    else -> out.append(char)
                }
            }
            out.append('"')
        }

        private val SHORT_ESCAPES = mapOf('\n' to 'n', '\r' to 'r', '\t' to 't', '\b' to 'b', '\u000c' to 'f')
    }
}
