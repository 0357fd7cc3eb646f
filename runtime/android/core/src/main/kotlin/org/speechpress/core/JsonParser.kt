package org.speechpress.core

private const val MAX_DEPTH = 64
private val NUMBER = Regex("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][-+]?[0-9]+)?")
private val ESCAPES = mapOf(
    '"' to '"', '\\' to '\\', '/' to '/', 'b' to '\b', 'f' to '\u000c', 'n' to '\n', 'r' to '\r', 't' to '\t'
)

/**
 * A strict reader of RFC 8259. Not org.json: that one is part of Android, so code over it could not run elsewhere, and it
 * takes duplicate keys, unquoted text and numbers apart from how they were written.
 */
internal class JsonParser(private val text: String, private val source: String) {
    private var at = 0

    fun document(): Json {
        val value = value(0)
        skipSpace()
        if (at < text.length) fail("more text after the end of the document")
        return value
    }

    private fun value(depth: Int): Json {
        if (depth > MAX_DEPTH) fail("nested deeper than $MAX_DEPTH")
        skipSpace()
        return when (peek()) {
            '{' -> members(depth)
            '[' -> items(depth)
            '"' -> Json.Str(string())
            't' -> word("true", Json.Bool(true))
            'f' -> word("false", Json.Bool(false))
            'n' -> word("null", Json.Null)
            else -> number()
        }
    }

    private fun members(depth: Int): Json {
        val members = LinkedHashMap<String, Json>()
        separated('{', '}') {
            skipSpace()
            val key = string()
            expect(':')
            if (members.put(key, value(depth + 1)) != null) fail("the key \"$key\" stands twice")
        }
        return Json.Obj(members)
    }

    private fun items(depth: Int): Json {
        val items = ArrayList<Json>()
        separated('[', ']') { items.add(value(depth + 1)) }
        return Json.Arr(items)
    }

    private fun separated(open: Char, close: Char, element: () -> Unit) {
        expect(open)
        skipSpace()
        if (peek() == close) {
            at++
            return
        }
        while (true) {
            element()
            skipSpace()
            if (peek() == close) break
            expect(',')
        }
        at++
    }

    private fun string(): String {
        expect('"')
        val out = StringBuilder()
        while (peek() != '"') {
            val char = text[at++]
            when {
                char < ' ' -> fail("a control character in a string")
                char == '\\' -> out.append(escape())
                else -> out.append(char)
            }
        }
        at++
        return out.toString()
    }

    private fun escape(): Char {
        val char = peek()
        at++
        if (char != 'u') return ESCAPES[char] ?: fail("the unknown escape \\$char")
        val digits = text.substring(at, minOf(at + 4, text.length))
        if (!digits.matches(Regex("[0-9a-fA-F]{4}"))) fail("\\u without four hexadecimal digits")
        at += 4
        return digits.toInt(16).toChar()
    }

    private fun number(): Json {
        val match = NUMBER.find(text, at)
        if (match == null || match.range.first != at) fail("no JSON value")
        at = match.range.last + 1
        return Json.Num(match.value)
    }

    private fun word(word: String, value: Json): Json {
        if (!text.startsWith(word, at)) fail("no JSON value")
        at += word.length
        return value
    }

    private fun expect(char: Char) {
        skipSpace()
        if (peek() != char) fail("'${peek()}' instead of '$char'")
        at++
    }

    private fun skipSpace() {
        while (at < text.length && text[at] in " \t\r\n") at++
    }

    private fun peek(): Char = if (at < text.length) text[at] else fail("the text ends too early")

    private fun fail(what: String): Nothing {
        val line = text.substring(0, minOf(at, text.length)).count { it == '\n' } + 1
        throw SpeechpressException("$source:$line: is not JSON ($what); export the bundle again")
    }
}
