package org.speechpress.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test

class GoldenCheckTest {
    @Test
    fun `parity is measured over frames`() {
        val parity = parity(floatArrayOf(1f, 0f, 0f, 2f), floatArrayOf(1f, 0f, 2f, 0f), width = 2)
        assertEquals(2.0, parity.maxAbs, 0.0)
        assertEquals(0.5, parity.cosine, 1e-12)
        assertEquals(10 * Math.log10(5.0 / 8.0), parity.snrDb, 1e-9)
    }

    @Test
    fun `equal frames meet every limit and a NaN meets none`() {
        val limits = listOf(Tolerance(maxAbs = 1e-6), Tolerance(cosine = 0.9), Tolerance(snrDb = 10.0))
        val same = parity(floatArrayOf(3f, 0f, 1f, 2f), floatArrayOf(3f, 0f, 1f, 2f), width = 2)
        val broken = parity(floatArrayOf(3f, Float.NaN, 1f, 2f), floatArrayOf(3f, 0f, 1f, 2f), width = 2)
        for (limit in limits) {
            assertTrue("$limit", same.meets(limit))
            assertFalse("$limit", broken.meets(limit))
            assertFalse("$limit", parity(floatArrayOf(3f, 0f), floatArrayOf(3f, 0f, 1f, 2f), width = 2).meets(limit))
        }
    }
}
