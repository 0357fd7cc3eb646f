package org.speechpress.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Test

class JsonTest {
    @Test
    fun `keeps digits, sorts keys and escapes as Python does`() {
        val text = "{\"b\": [1, -0.5, 1e-05, true, false, null, {}, []], \"a\": \"q\\\" \\\\ \\n \\u0001 \\u00e9 \\/\"}"
        val expected = "{\"a\":\"q\\\" \\\\ \\n \\u0001 \u00e9 /\",\"b\":[1,-0.5,1e-05,true,false,null,{},[]]}"
        assertEquals(expected, Json.parse(text, "test").canonical())
    }

    @Test
    fun `refuses what is not strict JSON and names the line`() {
        val wrong = listOf(
            "", "{", "[1,]", "{\"a\":1,}", "{a:1}", "{\"a\":1 \"b\":2}", "01", "1.", "+1", "NaN", "tru", "[1] 2",
            "{\"a\":1,\"a\":2}", "\"\\x\"", "\"\\u12g4\"", "\"a\nb\"", "\"open", "[".repeat(100) + "]".repeat(100)
        )
        for (text in wrong) expectError(text, "test:")
        expectError("{\n\n\"a\": ?}", "test:3:")
    }

    private fun expectError(text: String, part: String) {
        try {
            Json.parse(text, "test")
        } catch (error: SpeechpressException) {
            assertTrue("${error.message}", error.message!!.startsWith(part))
            return
        }
        fail("was read: $text")
    }
}
