package android.graphics;

public class Canvas {
    public void drawBitmap(Bitmap bitmap, Rect src, Rect dst, Paint paint) {}
}
