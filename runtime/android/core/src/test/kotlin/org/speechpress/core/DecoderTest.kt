package org.speechpress.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Test

class DecoderTest {
    @Test
    fun `heads that cannot be decoded are refused`() {
        val good = mapOf(
            "name" to "\"h\"", "kind" to "\"ctc\"", "labels" to "[\"\", \"a\"]", "widths" to "[2]", "hop_samples" to "320",
            "sample_rate" to "16000", "decoder" to "{}", "threshold" to "null", "delay_ms" to "0.0"
        )
        assertEquals(1, heads(good).size)
        val bad = mapOf(
            "widths" to "[3]", "labels" to "[\"\"]", "kind" to "\"smell\"", "decoder" to "{\"beam\": 8.0}", "threshold" to "2",
            "delay_ms" to "-1", "hop_samples" to "0", "name" to "1"
        )
        for ((key, value) in bad) expectError { heads(good + (key to value)) }
        for (decoder in listOf("[]", "{\"beams\": 8}", "{\"wait_s\": 0}", "{\"method\": \"best\"}", "{\"least\": 1e999}")) {
            expectError { heads(good + ("decoder" to decoder)) }
        }
        val wide = mapOf("kind" to "\"classify\"", "hop_samples" to "1", "sample_rate" to "1000000", "decoder" to "{\"window_s\": 60}")
        expectError { heads(good + wide) }
        expectError { heads(good, good) }
    }

    @Test
    fun `outputs that do not fit are refused`() {
        val decoder = decoderOf(HeadSpec("h", "units", emptyList(), listOf(2, 1)))
        val distances = Rows(1, 2, doubleArrayOf(1.0, 0.5))
        assertEquals("1", decoder.step(listOf(distances, id(1.0)), 0).single().label)
        expectError { decoder.step(listOf(distances), 1) }
        expectError { decoder.step(listOf(Rows(1, 2, doubleArrayOf(1.0, Double.NaN)), id(1.0)), 1) }
        for (wrong in listOf(-1.0, 2.0, 0.5)) expectError { decoder.step(listOf(distances, id(wrong)), 1) }
    }

    @Test
    fun `events are lines of JSON`() {
        val event = Event("h\"", "ctc", 3, "\u00e9\n", 0.02, 1.0, 0.12345, false, listOf(0.5, -1.0 / 3))
        val expected = "{\"head\": \"h\\\"\", \"kind\": \"ctc\", \"number\": 3, \"label\": \"\u00e9\\n\", \"start_s\": 0.02, " +
            "\"end_s\": 1.0, \"score\": 0.1235, \"final\": false, \"vector\": [0.5, -0.3333]}"
        assertEquals(expected, event.toJson())
    }

    private fun id(value: Double) = Rows(1, 1, doubleArrayOf(value))

    private fun heads(vararg heads: Map<String, String>): List<HeadSpec> {
        val list = heads.joinToString { head -> head.entries.joinToString(prefix = "{", postfix = "}") { "\"${it.key}\": ${it.value}" } }
        return readHeads(Fields(Json.parse("{\"heads\": [$list]}", "test") as Json.Obj, "test"))
    }

    private fun expectError(run: () -> Unit) {
        try {
            run()
        } catch (error: SpeechpressException) {
            assertTrue(error.message!!.isNotEmpty())
            return
        }
        fail("was taken")
    }
}
