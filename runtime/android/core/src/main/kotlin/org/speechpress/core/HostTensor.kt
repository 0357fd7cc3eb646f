package org.speechpress.core

/** A tensor in the memory of the virtual machine: a shape and its values in C order. */
sealed class HostTensor {
    abstract val shape: LongArray
    abstract val size: Int

    protected fun checkSize() = require(elements(shape) == size.toLong()) {
        "a tensor of shape ${shape.toList()} cannot have $size values"
    }

    companion object {
        fun elements(shape: LongArray): Long = shape.fold(1L) { product, length -> product * length }
    }
}

class FloatTensor(override val shape: LongArray, val values: FloatArray) : HostTensor() {
    override val size: Int get() = values.size

    init {
        checkSize()
    }
}

class LongTensor(override val shape: LongArray, val values: LongArray) : HostTensor() {
    override val size: Int get() = values.size

    init {
        checkSize()
    }
}
