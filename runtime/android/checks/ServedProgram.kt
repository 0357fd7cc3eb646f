package org.speechpress.checks

import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.InputStream
import java.io.OutputStream
import java.nio.ByteBuffer
import java.util.function.BiFunction
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Tensor

private const val FLOATS = 0
private const val LONGS = 1
private const val NUMBER = 2

/**
 * A program that another process runs.
 *
 * A call is the method's name and the inputs, an answer the outputs: first how many, then each as its kind, its shape and
 * its values, big-endian; a number has no shape.
 */
class ServedProgram(input: InputStream, output: OutputStream) : BiFunction<String, Array<EValue>, Array<EValue>?> {
    private val input = DataInputStream(input.buffered())
    private val output = DataOutputStream(output.buffered())

    override fun apply(method: String, inputs: Array<EValue>): Array<EValue>? {
        output.writeUTF(method)
        output.writeInt(inputs.size)
        inputs.forEach { write(it.toTensor()) }
        output.flush()
        return Array(input.readInt()) { read() }
    }

    private fun write(tensor: Tensor) {
        val longs = tensor.isLong
        output.writeInt(if (longs) LONGS else FLOATS)
        output.writeInt(tensor.shape().size)
        tensor.shape().forEach(output::writeLong)
        if (longs) tensor.dataAsLongArray.forEach(output::writeLong) else tensor.dataAsFloatArray.forEach(output::writeFloat)
    }

    private fun read(): EValue {
        val kind = input.readInt()
        if (kind == NUMBER) return EValue.from(input.readLong())
        val shape = LongArray(input.readInt()) { input.readLong() }
        val size = shape.fold(1L) { product, length -> product * length }.toInt()
        val bytes = ByteArray(size * if (kind == LONGS) 8 else 4).also(input::readFully)
        val buffer = ByteBuffer.wrap(bytes)
        val tensor = if (kind == LONGS) {
            Tensor.fromBlob(LongArray(size).also { buffer.asLongBuffer().get(it) }, shape)
        } else {
            Tensor.fromBlob(FloatArray(size).also { buffer.asFloatBuffer().get(it) }, shape)
        }
        return EValue.from(tensor)
    }
}
