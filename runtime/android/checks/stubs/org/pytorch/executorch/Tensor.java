package org.pytorch.executorch;

import java.nio.FloatBuffer;
import java.nio.LongBuffer;

/** Stands in for ExecuTorch's class of this name; like there, a tensor over a buffer does not own its values. */
public final class Tensor {
    private final FloatBuffer floats;
    private final LongBuffer longs;
    private final long[] shape;

    private Tensor(FloatBuffer floats, LongBuffer longs, long[] shape) {
        long size = 1;
        for (long length : shape) size *= length;
        int capacity = floats == null ? longs.capacity() : floats.capacity();
        if (size != capacity) throw new IllegalArgumentException("Inconsistent data capacity");
        this.floats = floats;
        this.longs = longs;
        this.shape = shape.clone();
    }

    public static Tensor fromBlob(float[] data, long[] shape) {
        return new Tensor(FloatBuffer.wrap(data.clone()), null, shape);
    }

    public static Tensor fromBlob(long[] data, long[] shape) {
        return new Tensor(null, LongBuffer.wrap(data.clone()), shape);
    }

    public static Tensor fromBlob(FloatBuffer data, long[] shape) {
        return new Tensor(data, null, shape);
    }

    public static Tensor fromBlob(LongBuffer data, long[] shape) {
        return new Tensor(null, data, shape);
    }

    /** Not in ExecuTorch's class. */
    public boolean isLong() {
        return longs != null;
    }

    public long[] shape() {
        return shape.clone();
    }

    public float[] getDataAsFloatArray() {
        if (floats == null) throw new IllegalStateException("cannot return data as float array.");
        float[] data = new float[floats.capacity()];
        floats.rewind();
        floats.get(data);
        return data;
    }

    public long[] getDataAsLongArray() {
        if (longs == null) throw new IllegalStateException("cannot return data as long array.");
        long[] data = new long[longs.capacity()];
        longs.rewind();
        longs.get(data);
        return data;
    }
}
