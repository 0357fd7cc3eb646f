package android.graphics;

public final class Rect {
    public void set(int left, int top, int right, int bottom) {}
}
