package org.speechpress.core

import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val HEADER_LENGTH_BYTES = 8

/**
 * The float32 and int64 tensors of a safetensors file, by name.
 *
 * Throws [SpeechpressException] when the file is missing, cut short, or holds other types.
 */
fun readSafetensors(file: File): Map<String, HostTensor> {
    val bytes = try {
        file.readBytes()
    } catch (error: IOException) {
        throw SpeechpressException("$file: cannot be read (${error.message}); export the bundle again", error)
    }
    return SafetensorsReader(bytes, file.path).tensors()
}

private class SafetensorsReader(private val bytes: ByteArray, private val source: String) {
    private val dataStart: Int

    init {
        val length = if (bytes.size < HEADER_LENGTH_BYTES) -1 else buffer(0, HEADER_LENGTH_BYTES).long
        if (length < 0 || length > bytes.size - HEADER_LENGTH_BYTES) fail("its header is cut short")
        dataStart = HEADER_LENGTH_BYTES + length.toInt()
    }

    fun tensors(): Map<String, HostTensor> {
        val header = String(bytes, HEADER_LENGTH_BYTES, dataStart - HEADER_LENGTH_BYTES, Charsets.UTF_8)
        val entries = Fields(Json.parse(header, source) as? Json.Obj ?: fail("its header is no object"), source)
        return entries.names.filter { it != "__metadata__" }.associateWith { tensor(it, entries.fields(it)) }
    }

    private fun tensor(name: String, entry: Fields): HostTensor {
        val shape = entry.ints("shape").toLongArray()
        val span = entry.ints("data_offsets")
        val dtype = entry.text("dtype")
        val itemBytes = if (dtype == "I64") 8L else 4L
        if (shape.any { it < 0 } || span.size != 2 || span[1] - span[0] != HostTensor.elements(shape) * itemBytes) {
            fail("the extent of \"$name\" does not fit its shape")
        }
        if (span[0] < 0 || span[1] > bytes.size - dataStart) fail("\"$name\" is cut short")
        val data = buffer(dataStart + span[0].toInt(), (span[1] - span[0]).toInt())
        return when (dtype) {
            "F32" -> FloatTensor(shape, FloatArray(data.remaining() / 4).also { data.asFloatBuffer().get(it) })
            "I64" -> LongTensor(shape, LongArray(data.remaining() / 8).also { data.asLongBuffer().get(it) })
            else -> fail("\"$name\" is of type $dtype, but only F32 and I64 are read")
        }
    }

    private fun buffer(from: Int, length: Int): ByteBuffer =
        ByteBuffer.wrap(bytes, from, length).slice().order(ByteOrder.LITTLE_ENDIAN)

    private fun fail(what: String): Nothing = throw SpeechpressException("$source: $what; export the bundle again")
}
